"""JSON schemas: converting them for the service's strict and lenient modes, and checking answers against them."""
