"""The volume: one folder on a disk that programs mount and clients fill and tidy from outside."""
