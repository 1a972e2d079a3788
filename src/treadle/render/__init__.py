"""Pictures: pure string builders over what the views tell; each format escapes in one place."""
