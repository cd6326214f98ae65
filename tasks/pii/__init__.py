"""E-mail addresses, IP addresses and phone numbers, masked by edits."""
