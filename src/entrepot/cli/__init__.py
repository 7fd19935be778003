"""The `entrepot` command: one module per family of commands."""
