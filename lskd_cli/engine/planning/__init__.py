"""What a request trains: checks, teachers, joint runs."""
