"""Transactional steps and the steps for rows, on real databases."""
