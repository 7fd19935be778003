"""The one-liners: the methods of one client, made from the environment or the saved profile."""

from __future__ import annotations

from entrepot.client.clients import SyncClient

sync_client = SyncClient()

upload = sync_client.upload
upload_file = sync_client.upload_file
upload_image = sync_client.upload_image
