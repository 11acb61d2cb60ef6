"""What people lease with: ``lease()``, ``renewing()`` and pools."""
