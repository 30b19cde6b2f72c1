"""Pictures: opened, resized, arranged and saved."""
