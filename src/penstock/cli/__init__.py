"""The command line: one small file per command. Importing it loads no engine and no server."""


def main() -> None:
    from penstock.cli.app import app

    app()
