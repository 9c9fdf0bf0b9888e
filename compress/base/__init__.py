"""Plain tools: errors, files, locks, the console, processes, devices, the version. Imports no other room."""
