"""The programs that are called (helm, kustomize) and how child processes are run."""
