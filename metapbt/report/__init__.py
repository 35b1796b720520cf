"""Statistics, figures and the report page: what one looks at after the runs. Nothing here trains."""
