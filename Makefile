# make demo [INPUT=video, folder of pictures or bag] | make test | make lint | make soak [MINUTES=10]; ARGS= is handed on.
.PHONY: demo test lint soak

demo:
	@tools/run python -m training.demo $(if $(INPUT),--input '$(INPUT)') $(ARGS)

test:
	@tools/run python -m pytest $(ARGS)

lint:
	@tools/run sh -c 'ruff check . && ruff format --check .'

soak:
	@tools/run sh -c 'python -m jointseg_ros.soak --minutes $(or $(MINUTES),10) $(ARGS); code=$$?; \
	  python -m training.soak_chart out/soak/soak.json && exit $$code'
