# `make` lists the targets. They use .venv, which ./start.sh and ./test.sh make.
PY := .venv/bin/python
# As the tests: no .env is read, no real database touched.
CHECK_ENV := DJANGO_SETTINGS_MODULE=cronsched.testing.settings TEST_DATABASE_URL=sqlite:///instance/check.db
MANAGE := $(CHECK_ENV) $(PY) manage.py

.DEFAULT_GOAL := help
.PHONY: help dev test check tools format lint types imports django-checks schema-check fix schema messages client-check postman chaos audit fake-github check-upgrade nightly clean-start clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

dev: ## the product on this machine, as ./start.sh, with DEBUG
	DEBUG=true ./start.sh

test: ## the suite on SQLite, as ./test.sh
	./test.sh

check: tools format lint types imports django-checks schema-check ## all that reads the code without running it

tools:
	@$(PY) -c 'import mypy, ruff' 2>/dev/null || ./test.sh --version

format:
	$(PY) -m ruff format --check .

lint:
	$(PY) -m ruff check .

types:
	$(PY) -m mypy .

imports:
	$(PY) -c 'from importlinter.cli import lint_imports_command as check; check()' --no-logo

django-checks:
	$(MANAGE) check --fail-level WARNING
	$(MANAGE) makemigrations --check --dry-run

schema-check:
	$(MANAGE) spectacular --validate --fail-on-warn --file /dev/null

fix: tools ## format, and repair what ruff can
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

schema: tools ## the OpenAPI document, to openapi.yaml
	$(MANAGE) spectacular --validate --fail-on-warn --file openapi.yaml

messages: tools ## bring the Japanese catalogue up to date with the code; lists what is left to translate
	$(PY) -m tests.messages

clients/generated/openapi.json: tools
	@mkdir -p $(@D)
	$(MANAGE) spectacular --validate --fail-on-warn --format openapi-json --file $@

clients/node_modules: clients/package-lock.json
	cd clients && npm ci --silent && touch node_modules

client-check: clients/generated/openapi.json clients/node_modules ## a TypeScript client made from the schema compiles; needs Node.js 20
	cd clients && npm run --silent types && npm run --silent check

postman: clients/generated/openapi.json clients/node_modules ## the API as a Postman collection, in clients/generated; needs Node.js 20
	cd clients && npm run --silent postman

DATABASE ?= sqlite
DURATION ?= 60
chaos: tools ## break schedulers and DATABASE at random for DURATION seconds; lost and doubled must be 0
	$(PY) -m tests.chaos --database $(DATABASE) --seconds $(DURATION)

audit: tools ## known faults in the packages of constraints.txt; asks a service on the Internet
	test -x .audit/bin/pip-audit || { $(PY) -m venv .audit && .audit/bin/pip install --quiet pip-audit; }
	.audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

FAKE_GITHUB ?=
fake-github: tools ## a stand-in for GitHub to play with; FAKE_GITHUB="--mode 204 --seconds 30"
	$(PY) -m cronsched.testing.fake_github $(FAKE_GITHUB)

FROM ?=
check-upgrade: tools ## the last release's tests on this version's schema; FROM=commit for another than the last tag
	$(PY) tests/upgrade.py $(if $(FROM),--from $(FROM))

nightly: tools ## everything everywhere, slow tests included; writes docs/nightly.md
	$(PY) tests/nightly.py

clean-start: ## ./start.sh and ./test.sh in a bare copy: no cache, no compiler, an empty home
	python3 tests/clean_start.py

clean: ## what tools leave behind; .venv, .env and instance/ stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis htmlcov .coverage staticfiles
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
