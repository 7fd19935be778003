"""The one-liners: the methods of one client each, made from the environment or the saved profile."""

from __future__ import annotations

from entrepot.client.clients import AsyncClient, SyncClient

sync_client = SyncClient()
async_client = AsyncClient()

upload = sync_client.upload
upload_file = sync_client.upload_file
upload_image = sync_client.upload_image

upload_async = async_client.upload
upload_file_async = async_client.upload_file
upload_image_async = async_client.upload_image
