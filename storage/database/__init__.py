"""The database: tables, migrations, connections and transactions."""
