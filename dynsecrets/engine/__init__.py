"""A manager's engine: issuing, revoking, reaping, and the timetable that they share."""
