"""Values on their way to those who use them: configs, formats, the project file's schema."""
