"""WebShop: shopping in a text shop that plays as the official one does, without Java or spaCy."""
