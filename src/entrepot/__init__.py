"""A self-hosted media store and CDN for AI applications."""

__version__ = "0.1.0"
