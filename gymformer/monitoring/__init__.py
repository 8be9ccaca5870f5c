"""What is written down while an agent learns, and how it is shown. Statistics are defined in monitoring/README.md."""
