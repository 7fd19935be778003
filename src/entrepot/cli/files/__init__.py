"""`entrepot files`: the /data volume of the server."""
