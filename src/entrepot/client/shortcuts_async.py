"""The one-liners for asyncio, apart from the others because asyncio takes long to import."""

from __future__ import annotations

from entrepot.client.clients import AsyncClient

async_client = AsyncClient()

upload_async = async_client.upload
upload_file_async = async_client.upload_file
upload_image_async = async_client.upload_image
