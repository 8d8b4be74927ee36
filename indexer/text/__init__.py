"""Finding products by words: keywords, the tower that projects text into the image space, the
glossary."""
