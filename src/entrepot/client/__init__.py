"""The user's side: upload files and get URLs. Light: it goes into every model image."""
