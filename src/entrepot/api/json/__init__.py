"""The JSON plane: FastAPI functions with pydantic models."""
