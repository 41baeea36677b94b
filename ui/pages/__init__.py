"""The pages, a module for each topic: handlers, and the Struct their template gets."""
