"""Configurations of experiments that come along: `gymformer play configs/blackjack.yaml`."""
