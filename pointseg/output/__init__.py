"""What leaves the framework: submissions, pictures, reports."""
