"""What the server does: access, uploads, objects, imports, jobs. Methods that act for a client authorise it first."""
