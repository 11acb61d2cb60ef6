"""What everything that speaks to AWS shares of botocore: its errors by their codes, and clients made once a process."""
