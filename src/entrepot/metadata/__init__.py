"""The catalogue: accounts, uploads, objects, jobs and housekeeping."""
