"""The application: settings, records, queue and command line; every process is composed here and only here."""
