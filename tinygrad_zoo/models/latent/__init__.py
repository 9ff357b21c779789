"""Models of what an image is made from: a few numbers or codes, inferred from it, of which it is drawn again."""
