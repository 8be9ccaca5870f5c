"""Problems and preferences: what tasks are made of, as records."""
