"""The registry folder: who may have what, and who signed for it."""
