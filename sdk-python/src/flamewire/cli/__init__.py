"""The command ``flamewire``: one verb a module."""
