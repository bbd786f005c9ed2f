# make demo [INPUT=video, folder of pictures or bag] | make test | make lint | make soak [MINUTES=10]; ARGS= is handed on.
# make faults: every fault case, as a table | make fuzz [MINUTES=5]: coverage-guided.
.PHONY: demo test faults fuzz lint soak

demo:
	@tools/run python -m demo $(if $(INPUT),--input '$(INPUT)') $(ARGS)

test:
	@tools/run python -m pytest $(ARGS)

faults:
	@tools/run python -m pytest test/faults/test_cases.py -m '' --tb=short $(ARGS)

fuzz:
	@tools/run sh -c 'python -c "import atheris" 2>/dev/null || python -m pip install -q -r tools/requirements-fuzz.txt; python test/faults/fuzz.py --minutes $(or $(MINUTES),5) $(ARGS)'

lint:
	@tools/run sh -c 'ruff check . && ruff format --check .'

soak:
	@tools/run sh -c 'python -m benchmarks.soak --minutes $(or $(MINUTES),10) $(ARGS); code=$$?; \
	  python -m benchmarks.soak.chart out/soak/soak.json && exit $$code'
