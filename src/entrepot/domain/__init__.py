"""What the words mean: pure values and rules. No I/O; clock and randomness are passed in."""
