"""Text search: keywords, the text tower, the glossary."""
