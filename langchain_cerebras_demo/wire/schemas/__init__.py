"""JSON schemas: made fit for the service's two modes, and answers held against them."""
