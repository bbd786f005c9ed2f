# make demo [INPUT=video, folder of pictures or bag] | make test | make lint; ARGS= is handed on.
.PHONY: demo test lint

demo:
	@tools/run python -m training.demo $(if $(INPUT),--input '$(INPUT)') $(ARGS)

test:
	@tools/run python -m pytest $(ARGS)

lint:
	@tools/run sh -c 'ruff check . && ruff format --check .'
