"""What is kept: block files in a folder, and the SQL catalog that says what they hold."""
