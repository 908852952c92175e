"""What a repository would become: the code behind the commands that need no manager."""
