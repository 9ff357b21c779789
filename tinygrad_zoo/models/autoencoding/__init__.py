"""Networks that squeeze an image through a short code and draw it again."""
