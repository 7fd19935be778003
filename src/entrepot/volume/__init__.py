"""The volume: one folder that programs mount and clients fill over HTTP."""
