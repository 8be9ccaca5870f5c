"""What language models need and no algorithm knows of."""
