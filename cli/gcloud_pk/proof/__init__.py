"""Probes that show isolation, and their verdicts; nothing that stays is applied."""
