"""What ofgtp does in how long, beside what a user would otherwise run: `make bench`."""
