"""Makes ERPO adapters: data, training stages, export."""
