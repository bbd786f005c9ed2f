# make demo [INPUT=video, folder of pictures or bag] | make test | make lint | make soak [MINUTES=10]; ARGS= is handed on.
# make faults: every fault case, as a table | make fuzz [MINUTES=5]: coverage-guided.
# make docs: pages of the API, from the docstrings, in out/docs.
.PHONY: demo docs test faults fuzz lint soak

demo:
	@tools/run python -m demo $(if $(INPUT),--input '$(INPUT)') $(ARGS)

test:
	@tools/run python -m pytest $(ARGS)

faults:
	@tools/run python -m pytest test/faults/test_cases.py -m '' --tb=short $(ARGS)

fuzz:
	@tools/run sh -c 'python -c "import atheris" 2>/dev/null || python -m pip install -q -r tools/requirements-fuzz.txt; python test/faults/fuzz.py --minutes $(or $(MINUTES),5) $(ARGS)'

lint:
	@tools/run sh -c 'ruff check . && ruff format --check . && mypy'

soak:
	@tools/run sh -c 'python -m benchmarks.soak --minutes $(or $(MINUTES),10) $(ARGS); code=$$?; \
	  python -m benchmarks.soak.chart out/soak/soak.json && exit $$code'

docs:
	@tools/run sh -c 'command -v pydoctor >/dev/null || python -m pip install -q -r tools/requirements-docs.txt; \
	  pydoctor -q --project-name=jointseg --docformat=plaintext --html-output=out/docs \
	  jointseg_core jointseg_objects jointseg_ros jointseg_eval training demo benchmarks && echo out/docs/index.html'
