from bandloom.command_line.console import console, table


def test_brackets_in_names_and_logs_stay_what_they_are():
    with console.capture() as captured:
        for text in ("[/w/gloo/pair.cc:537] Read error [127.0.0.1]:7860", "a[bold]b"):
            console.print(text, soft_wrap=True)
            console.print(table("", ("why",), [(text,)]), soft_wrap=True, width=200)
    said = captured.get()
    assert said.count("[/w/gloo/pair.cc:537] Read error [127.0.0.1]:7860") == 2
    assert said.count("a[bold]b") == 2
