"""Storage of analyses, images and reports: the database, its tables and the image files."""
